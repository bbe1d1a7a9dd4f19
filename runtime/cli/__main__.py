"""``python -m runtime.cli``: the same as `versions`."""

from runtime.cli import main

if __name__ == "__main__":
    main()
