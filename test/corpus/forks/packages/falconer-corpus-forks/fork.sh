i=0
while [ $i -lt 3000 ]; do
  sleep 300 &
  i=$((i + 1))
done
wait
