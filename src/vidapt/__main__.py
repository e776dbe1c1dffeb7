"""`python -m vidapt`, for where the command itself is not on the path."""

from vidapt.cli import main

if __name__ == "__main__":
    main()
