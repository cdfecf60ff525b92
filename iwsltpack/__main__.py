"""``python -m iwsltpack`` is the command ``iwsltpack``."""

from iwsltpack.cli.main import main

main()
