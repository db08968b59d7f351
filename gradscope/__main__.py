"""`python -m gradscope` is the command."""

from gradscope.cli.app import main

if __name__ == "__main__":
    main()
