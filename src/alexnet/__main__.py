"""``python -m alexnet``: the command ``alexnet`` where scripts are not on the path."""

import sys

from alexnet.cli import main

sys.exit(main())
