i=0
while [ $i -lt 4000 ]; do
  sleep 20 &
  i=$((i + 1))
done
wait
