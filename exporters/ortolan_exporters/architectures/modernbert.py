"""ModernBERT: rotary positions, and layers that look only near by, which a bias of the scores says."""

from ortolan_exporters.architectures.base import Architecture

MODERNBERT = Architecture("modernbert")
