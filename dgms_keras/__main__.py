"""`python -m dgms_keras`: the same as `dgms`."""

import sys

from dgms_keras.cli import main

sys.exit(main())
