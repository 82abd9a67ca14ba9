"""`python -m dnnlikelihood` is `dnnlik`."""

from .cli import main

if __name__ == "__main__":
    main(prog_name="dnnlik")
