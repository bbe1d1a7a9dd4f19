"""``python -m runtime.cli``: the same as `versions`."""

from runtime.cli import command

if __name__ == "__main__":
    command()
