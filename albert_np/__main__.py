"""`python -m albert_np` is the command `albert-np`."""

import sys

from albert_np.cli import main

if __name__ == "__main__":
    sys.exit(main())
