# Runs the initialisation of the packages that a project imports, module by
# module: a program that imports them and does nothing. Says through marks whose
# code runs, in this very process, which runs none of it. Arguments: a folder to
# work in, modules.
dir=$1; shift
index=0
all=$(go list -f '{{range .Imports}}{{.}}
{{end}}' ./... | sort -u)
mark() { true 2>/dev/null </dev/null/import/"$1"; }
mark own/0
for module; do
  found=$(printf '%s\n' "$all" | while read -r p; do case $p in */internal/*|*/internal) ;; "$module"|"$module"/*) echo "$p";; esac; done)
  if [ -n "$found" ]; then
    main=$dir/import$index
    mkdir -p "$main"
    { echo 'package main'; for p in $found; do echo "import _ \"$p\""; done; echo 'func main() {}'; } >"$main/main.go"
    if go build -o "$main/main" "$main/main.go"; then
      mark run/$index
      timeout 60 "$main/main" </dev/null; code=$?
      mark own/0
      if [ $code = 0 ]; then mark ok/$index; else mark failed/$index/Status-$code; fi
    else
      mark failed/$index/Build
    fi
  else
    mark ok/$index
  fi
  index=$((index + 1))
done
