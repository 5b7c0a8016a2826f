"""``python -m bundler`` is ``fps-bundle``."""

from bundler.cli import signals


def main() -> None:
    """Run the program; signals are handled before anything slow is loaded."""
    signals.listen()
    from bundler.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
