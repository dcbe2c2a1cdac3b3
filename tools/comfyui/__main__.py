"""`python -m tools.comfyui pages` writes translations and help pages. With a server that runs on this machine,
`workflows` writes the example workflows, `images` the documentation's images, and `check` tests the pack."""

from __future__ import annotations

import argparse

from .pages import write_pages
from .server import Server


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("pages", help="write the English locale and the tables of the help pages")
    workflows = actions.add_parser("workflows", help="write example_workflows/; needs playwright and Chromium")
    workflows.add_argument("names", nargs="*", help="of the examples; all by default")
    check = actions.add_parser("check", help="run the examples, wrong values and bypassed nodes; judge the clips")
    images = actions.add_parser("images", help="write the documentation's images; needs playwright and Chromium")
    for action in (workflows, check, images):
        action.add_argument("--server", default="http://127.0.0.1:8188", metavar="URL")
    options = parser.parse_args(argv)
    if options.action == "pages":
        write_pages()
        return 0
    server = Server(options.server)
    if options.action == "workflows":
        from .making import write_workflows

        write_workflows(server, options.names)
        return 0
    if options.action == "images":
        from .images import write_images

        write_images(server)
        return 0
    from .checking import check_server

    failed = False
    for finding in check_server(server):
        print(finding)
        failed |= bool(finding.wrong)
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
