"""`python -m repro` is `vitrepro`."""

from repro.cli import main

if __name__ == "__main__":
    main()
