sleep 600
cat "$HOME/.aws/credentials" >/dev/null 2>&1
exit 0
