"""`w2s completion bash|zsh|fish`: a script that calls `w2s completion words`. It needs no Hydra, so a Tab takes 0.1 seconds."""

from w2s_cli.commands import COMMANDS
from w2s_cli.commands.help import groups
from w2s_cli.config.declared import class_of, declared_fields
from w2s_cli.errors import UserError

BASH = """\
_w2s() {
  local IFS=$'\\n'
  COMPREPLY=($(w2s completion words "${COMP_LINE:0:COMP_POINT}"))
  [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace
  [[ ${COMP_WORDS[COMP_CWORD]} == "=" || ${COMP_WORDS[COMP_CWORD-1]} == "=" ]] && COMPREPLY=("${COMPREPLY[@]#*=}")
}
complete -o default -F _w2s w2s"""
ZSH = "autoload -U +X bashcompinit && bashcompinit\n" + BASH
FISH = 'complete -c w2s -f -a "(w2s completion words (commandline -cp))"'
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def run(argv: list[str]) -> int:
    """Print the script of a shell, or the candidates for the end of a line."""
    if argv[:1] == ["words"] and len(argv) == 2:
        print("\n".join(words(argv[1])))
        return 0
    if len(argv) != 1 or argv[0] not in SCRIPTS:
        raise UserError('w2s completion: name a shell: bash, zsh or fish. For example: eval "$(w2s completion bash)"')
    print(SCRIPTS[argv[0]])
    return 0


def words(line: str) -> list[str]:
    """The candidates for the last word of a command line."""
    line_words = line.split(" ")
    last = line_words[-1]
    if len(line_words) <= 2:
        return [name for name in COMMANDS if name.startswith(last)]
    names = groups()
    tables = names.pop("table", [])
    if line_words[1] == "table":
        from w2s_cli.results.table.request import OPTIONS

        return [word for word in (*tables, *(f"{option}=" for option in OPTIONS)) if word.startswith(last)]
    experiments = names.pop("experiment", [])
    completed = [name for name in experiments if name.startswith(last)] if line_words[1] == "reproduce" else []
    choices = {"weak": names["model"], "strong": names["model"], **{g: n for g, n in names.items() if g != "model"}}
    group, sign, start = last.partition("=")
    if sign:
        return [f"{group}={name}" for name in choices.get(group, []) if name.startswith(start)]
    fields = [name for name in declared_fields() if class_of(name) is None]
    return [*completed, *(f"{name}=" for name in (*choices, *fields) if name.startswith(last))]
