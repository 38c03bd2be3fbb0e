"""``python -m comdefend``."""

from comdefend.cli import main

if __name__ == "__main__":
    main()
