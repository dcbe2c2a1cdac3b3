"""`python -m tools.comfyui pages` writes translations and help pages; `workflows` the example workflows, on a server
that runs on this machine."""

from __future__ import annotations

import argparse

from .pages import write_pages


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("pages", help="write the English locale and the tables of the help pages")
    workflows = actions.add_parser("workflows", help="write example_workflows/; needs playwright and Chromium")
    workflows.add_argument("names", nargs="*", help="of the examples; all by default")
    workflows.add_argument("--server", default="http://127.0.0.1:8188", metavar="URL")
    options = parser.parse_args(argv)
    if options.action == "pages":
        write_pages()
        return 0
    from .making import write_workflows
    from .server import Server

    write_workflows(Server(options.server), options.names)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
