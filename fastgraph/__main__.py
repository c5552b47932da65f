"""`python -m fastgraph` is the command `fastgraph`."""

from .cli import main

raise SystemExit(main())
