"""Programs for the ComfyUI node pack: translations, help pages, example workflows and checks on a running server."""
