"""`w2s completion bash|zsh|fish`: a script that calls `w2s completion words`. It needs no Hydra, so a Tab takes 0.1 seconds.

The script adds the space behind a finished word itself, since a word that ends in "=", "." or "[" goes on.
"""

from w2s_cli.errors import UserError

BASH = """\
_w2s() {
  local IFS=$'\\n' i
  COMPREPLY=($("${COMP_WORDS[0]/#\\~/$HOME}" completion words "${COMP_LINE:0:COMP_POINT}" 2>/dev/null))
  [[ ${COMP_WORDS[COMP_CWORD]} == "=" || ${COMP_WORDS[COMP_CWORD-1]} == "=" ]] && COMPREPLY=("${COMPREPLY[@]#*=}")
  for i in "${!COMPREPLY[@]}"; do
    [[ ${COMPREPLY[i]} == *[=.[] ]] || COMPREPLY[i]+=" "
  done
}
complete -o default -o nospace -F _w2s w2s"""
ZSH = """\
_w2s() {
  local -a offered open
  offered=(${(f)"$(${words[1]/#\\~/$HOME} completion words "${(j: :)words[1,CURRENT]}" 2>/dev/null)"})
  open=(${(M)offered:#*[=.\\[]})
  offered=(${offered:#*[=.\\[]})
  (( $#open + $#offered )) || { compset -P '*='; _files; return }
  compadd -Q -S '' -- $open
  compadd -Q -- $offered
}
(( $+functions[compdef] )) || { autoload -U compinit && compinit }
compdef _w2s w2s"""
FISH = """\
complete -c w2s -f -a "(w2s completion words (commandline -cp) 2>/dev/null)"
complete -c w2s -n 'string match -qr "(path|outputs|out|dir)(=| +)[^ ]*\\$" -- (commandline -cp)' -F"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}
USAGE = """\
usage: w2s completion bash|zsh|fish

Print the script with which a shell completes the commands, options, groups, fields, values, stages and runs of w2s.

example: w2s completion bash >> ~/.bashrc      (or, for this window: eval "$(w2s completion bash)")"""


def run(argv: list[str]) -> int:
    """Print the script of a shell, or the candidates for the end of a line."""
    if argv[:1] == ["words"] and len(argv) > 1:
        from w2s_cli.commands.candidates import candidates

        print("\n".join(candidates(" ".join(argv[1:]))))
        return 0
    if argv[:1] in (["--help"], ["-h"]):
        print(USAGE)
        return 0
    if len(argv) != 1 or argv[0] not in SCRIPTS:
        raise UserError('w2s completion: name a shell: bash, zsh or fish. For example: eval "$(w2s completion bash)"')
    print(SCRIPTS[argv[0]])
    return 0
