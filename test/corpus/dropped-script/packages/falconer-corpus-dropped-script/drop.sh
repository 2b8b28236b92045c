dir=$(mktemp -d)
printf '#!/bin/sh\necho acting\n' >"$dir/stage.sh"
chmod +x "$dir/stage.sh"
"$dir/stage.sh"
rm -r "$dir"
