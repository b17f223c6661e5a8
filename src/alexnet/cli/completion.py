"""The command completion: what a shell reads to complete commands and options."""

import dataclasses
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from alexnet.cli.commands import COMMANDS, command_class
from alexnet.cli.help import options_of
from alexnet.cli.options import Json
from alexnet.cli.streams import print_json

ZSH = "autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n"


@dataclasses.dataclass(frozen=True)
class Completion(Json):
    """Print what completes commands and options in a shell: eval "$(alexnet completion bash)"."""

    shell: Positional[Annotated[Literal["bash", "zsh"], arg(metavar="SHELL")]] = "bash"
    """bash or zsh."""

    def __call__(self) -> int:
        words = {name: _options(name) for name in COMMANDS}
        if self.json:
            return print_json(words)
        cases = "".join(f'    {name}) words="{" ".join(options)}" ;;\n' for name, options in words.items())
        print(
            f"{ZSH if self.shell == 'zsh' else ''}_alexnet() {{\n"
            '  local words="" word="${COMP_WORDS[COMP_CWORD]}"\n'
            '  case "${COMP_WORDS[1]}" in\n'
            f"{cases}"
            "  esac\n"
            f'  if [ "$COMP_CWORD" = 1 ]; then words="{" ".join(words)} help"; fi\n'
            '  if [ "$COMP_CWORD" = 1 ] || [ "${word#-}" != "$word" ]; then\n'
            '    COMPREPLY=($(compgen -W "$words" -- "$word"))\n'
            "  fi\n"
            "}\n"
            "complete -o default -F _alexnet alexnet"
        )
        return 0


def _options(name: str) -> list[str]:
    """A command's options, by their names."""
    options = options_of(command_class(name))
    return [*(spelled for option in options if not option.positional for spelled in option.names), "--help"]
