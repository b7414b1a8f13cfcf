"""`python -m ortolan_exporters`: the exporter's command line."""

import sys

from ortolan_exporters.cli import main

sys.exit(main())
