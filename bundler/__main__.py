"""``python -m bundler`` is ``fps-bundle``."""

from bundler.cli.main import main

if __name__ == "__main__":
    main()
