"""`python -m wshttp` is the command `wshttp`."""

from wshttp.cli import main

if __name__ == "__main__":
    main()
