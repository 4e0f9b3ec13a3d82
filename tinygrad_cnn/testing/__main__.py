"""`python -m tinygrad_cnn.testing`: certificates and the mutation run from a terminal."""

from __future__ import annotations

import sys

import click

from tinygrad_cnn.testing.certify.certification import certify_all
from tinygrad_cnn.testing.mutation.run import mutate


@click.group()
def main() -> None:
    """Certify operations, and test the tests that do it."""


@main.command("certify")
@click.argument("names", nargs=-1)
@click.option("--examples", default=40, show_default=True, help="Samples for each operation.")
@click.option("--seed", type=int, help="Other samples than always.")
@click.option("--markdown", is_flag=True, help="Print the table in Markdown.")
def certify_command(
    names: tuple[str, ...], examples: int, seed: int | None, markdown: bool
) -> None:
    """Print the certificates of the operations NAMES, or a table of all registered ones.

    The exit code is 1 if one of them is not certified.
    """
    try:
        found = certify_all(names, examples=examples, seed=seed)
    except ImportError as error:  # Hypothesis
        raise click.ClickException(str(error)) from error
    if markdown:
        click.echo(found.markdown())
    elif names:
        click.echo("\n\n".join(map(str, found)))
    else:
        click.echo(str(found))
    sys.exit(not found.certified)


@main.command("mutate")
@click.argument("names", nargs=-1)
@click.option("--jobs", default=1, show_default=True, help="Processes that share the work.")
@click.option("--examples", default=80, show_default=True, help="Samples for each mutant.")
def mutate_command(names: tuple[str, ...], jobs: int, examples: int) -> None:
    """Seed mistakes into the rules of NAMES (default: all) and print which are not found.

    The exit code is 1 if one survives.
    """
    found = mutate(names, jobs=jobs, examples=examples)
    click.echo(str(found))
    sys.exit(bool(found.survivors))


if __name__ == "__main__":
    main()
