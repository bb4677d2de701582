"""Run the server from the source tree: `python run.py --config config/wshttp.yaml` is `wshttp serve --config ...`."""

import sys

from wshttp.cli import main

if __name__ == "__main__":
    main(["serve", *sys.argv[1:]])
