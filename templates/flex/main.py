"""What Dataflow's launcher runs. All of it is in the package: workers import, and unpickle nothing."""

import sys

from alphabeam.pipeline.flex_template import main

if __name__ == "__main__":
    sys.exit(main())
