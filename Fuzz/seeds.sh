#!/bin/sh
# Copies the test corpus (SIPLEAK_CORPUS, or ../shared/corpus beside the clone) into FOLDER as seeds
# of TARGET. Without a corpus the fuzzer begins with nothing but its dictionary.
set -eu
target=$1
folder=$2
corpus=${SIPLEAK_CORPUS:-$(dirname "$0")/../../shared/corpus}
mkdir -p "$folder"
[ -d "$corpus" ] || [ "$target" = sets ] || { echo "no corpus at $corpus: starting without seeds" >&2; exit 0; }

# A file to itself for each message of a dump, as the whole is too long to mutate well.
split_messages() {
  offset=0
  size=$(wc -c <"$1")
  while [ $((offset + 16)) -le "$size" ]; do
    length=$(od -An -tu4 -j "$offset" -N 4 "$1" | tr -d ' ')
    [ "$length" -ge 16 ] || break
    tail -c +$((offset + 1)) "$1" | head -c "$length" >"$folder/seed-$offset"
    offset=$((offset + (length + 3) / 4 * 4))
  done
}

case $target in
rules)
  find "$corpus/rulesets" -type f ! -name '*.json*' | while read -r file; do
    cp "$file" "$folder/seed-$(echo "${file#"$corpus/rulesets/"}" | tr / -)"
  done
  ;;
sets)
  # The corpus has no saved sets.
  cat >"$folder/seed-types" <<'SETS'
create blocked hash:ip family inet hashsize 1024 maxelem 65536 timeout 600 counters comment skbinfo
add blocked 192.0.2.1 timeout 299 packets 3 bytes 180 comment "two
lines" skbmark 0x1/0xff skbprio 1:2 skbqueue 3
add blocked 192.0.2.2 nomatch -exist
create nets hash:net,port,net family inet6
add nets 2001:db8::/32,udp:5060,::/0
create ports bitmap:port range 5060-5070
add ports 5060
create both list:set size 8
add both blocked
COMMIT
SETS
  ;;
sip)
  for file in "$corpus"/sip/rfc4475/*.dat; do cp "$file" "$folder/seed-$(basename "$file")"; done
  ;;
flows)
  cp "$corpus/conntrack/live-table/raw.nlmsg" "$folder/seed-whole"
  split_messages "$corpus/conntrack/live-table/raw.nlmsg"
  # The table in the corpus expects nothing: an expectation of the sip helper, udp to 192.0.2.5:5060.
  printf '%b' \
    '\0340\0000\0000\0000\0000\0002\0002\0000\0001\0000\0000\0000\0001\0000\0000\0000\0002\0000\0000\0000' \
    '\0064\0000\0001\0200\0024\0000\0001\0200\0010\0000\0001\0000\0300\0000\0002\0001\0010\0000\0002\0000' \
    '\0300\0000\0002\0005\0034\0000\0002\0200\0005\0000\0001\0000\0021\0000\0000\0000\0006\0000\0002\0000' \
    '\0023\0304\0000\0000\0006\0000\0003\0000\0023\0304\0000\0000\0064\0000\0002\0200\0024\0000\0001\0200' \
    '\0010\0000\0001\0000\0000\0000\0000\0000\0010\0000\0002\0000\0300\0000\0002\0005\0034\0000\0002\0200' \
    '\0005\0000\0001\0000\0021\0000\0000\0000\0006\0000\0002\0000\0000\0000\0000\0000\0006\0000\0003\0000' \
    '\0023\0304\0000\0000\0064\0000\0003\0200\0024\0000\0001\0200\0010\0000\0001\0000\0000\0000\0000\0000' \
    '\0010\0000\0002\0000\0377\0377\0377\0377\0034\0000\0002\0200\0005\0000\0001\0000\0021\0000\0000\0000' \
    '\0006\0000\0002\0000\0000\0000\0000\0000\0006\0000\0003\0000\0377\0377\0000\0000\0010\0000\0004\0000' \
    '\0000\0000\0000\0074\0010\0000\0005\0000\0000\0000\0000\0007\0010\0000\0006\0000\0163\0151\0160\0000' \
    '\0006\0000\0007\0000\0000\0001\0000\0000\0010\0000\0010\0000\0000\0000\0000\0001\0010\0000\0011\0000' \
    '\0000\0000\0000\0000' \
    >"$folder/seed-expectation"
  ;;
tables)
  for file in "$corpus"/conntrack/live-table/L.*.txt "$corpus"/conntrack/live-table/L.*.xml "$corpus"/conntrack/live-table/proc_net_nf_*.txt; do
    cp "$file" "$folder/seed-$(basename "$file")"
    # Single lines mutate better than tables.
    split -l 1 -a 3 "$file" "$folder/seed-$(basename "$file" .txt)-"
  done
  ;;
esac
chmod -R u+w "$folder"
