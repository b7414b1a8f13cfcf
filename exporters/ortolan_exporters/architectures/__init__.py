"""What differs between architectures: one file per `model_type` of config.json."""
