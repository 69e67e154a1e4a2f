#!/usr/bin/env bash
# Run the published studies on one GPU within a given time, stop cleanly, and pack the results.
#
#   benchmarks/gpu_results.sh --seconds 540 --work DIR --packs DIR --data DIR [ARCHIVE ...]
#
# --seconds N      the time for all of it
# --work DIR       the runs are written here
# --packs DIR      the archives are written here: runs-1.tar.gz, ... without weights, and published.tar.gz
# --data DIR       holds CIFAR-10 as cifar10/ (default: $HARNESS_DATA)
# --reserve N      seconds at the end for reports and archives (default: 90)
# --lanes N        tasks at once (default: 4)
# --device NAME    as of harness.study (default: auto)
# --python FILE    (default: .tox/study/bin/python where it is there, else python)
# --tasks FILE     arguments of harness.study, a task a line (default: the studies below, the most valuable first)
# --pack-bytes N   the most bytes of an archive of runs (default: 16000000)
# ARCHIVE          runs-N.tar.gz of an earlier call: finished runs are not repeated
#
# To publish what comes back: unpack the archives of runs into a folder, and run
# python -m benchmarks.published FOLDER/STUDY ...; or copy a study's folder from published.tar.gz to docs/results.
# Exit status: 0; 1 where a task failed; 2 where the call is wrong.
set -euo pipefail

tasks_text="
search_onecycle
search_annealed
search_record
s11_l1 --seeds 0-4
assignment10_adam --seeds 0-4
chapter11 --seeds 0-4
onecycle --seeds 0-9
annealed --variants davidnet --seeds 0-9
annealed --variants base --seeds 0-9
s11_l2 --seeds 0-4
assignment8 --seeds 0-4
annealed --variants davidnet --seeds 10-49
onecycle_adam --seeds 0-4
ablations --seeds 0-2 --set name=ablations_24 --set schedule.epochs=24 --set schedule.peak_epoch=5
lr_grid --seeds 0-2
search
"
root=$(realpath "$(dirname "$0")/..")
lanes=4 reserve=90 pack_bytes=16000000 device=auto
python=python
[[ ! -x $root/.tox/study/bin/python ]] || python=$root/.tox/study/bin/python
seconds="" work="" packs="" data="" tasks=""
archives=()
usage() { sed -n '2,/^set /s/^# \{0,1\}//p' "$0"; }
fail() { echo "error: $1" >&2; exit 2; }

while (($#)); do
  case $1 in
    --help | -h) usage; exit 0 ;;
    --seconds | --work | --packs | --data | --lanes | --reserve | --device | --python | --tasks | --pack-bytes)
      (($# > 1)) || fail "$1: expected a value"
      name=${1#--}
      printf -v "${name//-/_}" '%s' "$2"
      shift 2 ;;
    -*) fail "$1: no such option; --help lists them" ;;
    *) [[ -f $1 ]] || fail "$1: no such archive"; archives+=("$(realpath "$1")"); shift ;;
  esac
done
[[ -n $seconds && -n $work && -n $packs ]] || fail "--seconds, --work and --packs are needed; --help says what they are"
for name in seconds lanes reserve pack_bytes; do
  [[ ${!name} =~ ^(0|[1-9][0-9]*)$ ]] || fail "--${name//_/-}: expected a whole number, got '${!name}'"
done
((lanes > 0)) || fail "--lanes: expected at least 1"
((seconds > reserve)) || fail "--seconds $seconds: must be more than --reserve, $reserve seconds for reports and archives"
[[ -z $tasks || -f $tasks ]] || fail "--tasks $tasks: no such file"
[[ -z $data || -d $data ]] || fail "--data $data: no such folder"
[[ -z $tasks ]] || tasks_text=$(<"$tasks")
[[ -z $data ]] || data=$(realpath "$data")
[[ $python != */* ]] || python=$(realpath -s "$python")
mkdir -p "$work" "$packs" || fail "--work and --packs: cannot be written"
work=$(realpath "$work") packs=$(realpath "$packs")
cd "$root"
"$python" -c "import harness.study, benchmarks.published.page" 2>/dev/null ||
  fail "--python $python: has not the packages of this project; give one that has"

end=$(($(date +%s) + seconds))
options=(--out "$work" --device "$device")
[[ -z $data ]] || options+=(--data "$data")
notes=$(mktemp -d)
trap 'rm -rf "$notes"' EXIT
logs=$packs/logs
mkdir -p "$logs"
for archive in ${archives[@]+"${archives[@]}"}; do  # what is finished stays, whichever archive has it
  rm -rf "$notes/unpacked" && mkdir "$notes/unpacked"
  tar -xzf "$archive" -C "$notes/unpacked" || fail "$archive: cannot be unpacked"
  for path in "$notes/unpacked"/*/runs/*/*/ "$notes/unpacked"/*/range_test/ "$notes/unpacked"/*/study.toml; do
    [[ -e $path ]] || continue
    there=$work/${path#"$notes/unpacked/"}
    ! grep -qs '"status": "finished"' "${there}run.json" || continue
    mkdir -p "$(dirname "$there")"
    rm -rf "${there%/}"
    cp -r "${path%/}" "${there%/}"
  done
done

# A signal ends the runs early; what is finished is reported and packed all the same.
stop() {
  echo "stopping: runs end, reports and archives follow"
  end=$(($(date +%s) + reserve))
  touch "$notes/stop"
  for file in "$notes"/pid-*; do kill -TERM "$(<"$file")" 2>/dev/null || true; done
}
trap stop INT TERM
wait_for_all() { while [[ -n $(jobs -rp) ]]; do wait || true; done; }

# ---- runs ------------------------------------------------------------------------------------------------------

# Tasks wait in a pipe; whichever lane is free takes the next one. A read of one line is one byte after the other,
# so lanes take turns by a lock.
lane() {
  local task left status
  trap - INT TERM
  while left=$((end - reserve - $(date +%s))) && ((left > 0)) && [[ ! -e $notes/stop ]]; do
    { flock 8; IFS= read -r task <&9 || task=""; flock -u 8; } 8>"$notes/lock"
    [[ -n $task ]] || return 0
    echo "== $task" >>"$logs/lane-$1.log"
    status=0
    # shellcheck disable=SC2086  # a task is several words
    timeout --kill-after=30 "$left" "$python" -m harness.study $task "${options[@]}" --launcher serial \
      >>"$logs/lane-$1.log" 2>&1 </dev/null &
    echo $! >"$notes/pid-$1"
    wait $! || status=$?
    rm -f "$notes/pid-$1"
    case $status in
      0) echo "done: $task" ;;
      124 | 130 | 137 | 143) echo "stopped before its end: $task" ;;
      *)
        echo "FAILED with status $status: $task; see $logs/lane-$1.log"
        echo "$task" >>"$notes/failed" ;;
    esac
  done
}

{ grep -v '^[[:space:]]*\(#\|$\)' <<<"$tasks_text" || true; } >"$notes/tasks"
exec 9<"$notes/tasks"
for ((number = 1; number <= lanes; number++)); do lane "$number" & done
wait_for_all

# ---- reports ---------------------------------------------------------------------------------------------------

finished() { grep -lqs '"status": "finished"' "$1"runs/*/*/run.json; }
report() {
  local study=$1 left=$((end - reserve / 3 - $(date +%s)))  # archives need time too
  trap - INT TERM
  [[ ! -f ${study}report.json || -n $(find "${study}runs" -name run.json -newer "${study}report.json") ]] || return 0
  ((left > 5)) || { echo "no time left for the report of $(basename "$study")"; return 0; }
  timeout "$left" "$python" -m harness.study "${study}study.toml" --variants "$(ls "${study}runs" | paste -sd,)" \
    --report-only "${options[@]}" --quiet || true
}

for study in "$work"/*/; do
  finished "$study" || continue
  while (($(jobs -rp | wc -l) >= lanes)); do wait -n || true; done
  report "$study" &
done
wait_for_all
echo "finished runs: $({ grep -ls '"status": "finished"' "$work"/*/runs/*/*/run.json || true; } | wc -l)"

# ---- archives --------------------------------------------------------------------------------------------------

# Whole run folders together, so that each archive is of use alone. Predictions, most of it, hardly shrink.
without=(--exclude='*.safetensors' --exclude='checkpoint.pt' --exclude='.*')
number=0 size=0
: >"$notes/list"
write_pack() {
  ((++number))
  tar -czf "$packs/runs-$number.tar.gz" -C "$work" "${without[@]}" --files-from="$notes/list"
  : >"$notes/list"
  size=0
}
rm -f "$packs"/runs-*.tar.gz
cd "$work"
for path in */runs/*/*/ */range_test/ */study.toml; do
  [[ -e $path ]] || continue
  bytes=$(find "$path" -type f ! -name '*.safetensors' ! -name checkpoint.pt -printf '%s\n' |
    awk '{all += $1 + 1024} END {print all + 0}')
  ((size == 0 || size + bytes <= pack_bytes)) || write_pack
  echo "$path" >>"$notes/list"
  size=$((size + bytes))
done
((size == 0)) || write_pack
cd "$root"

# ---- what is to be published -------------------------------------------------------------------------------------

cp -r docs/results "$notes/published"
to_publish=()
for study in "$work"/*/; do
  { finished "$study" && [[ -f ${study}report.json ]]; } || continue
  to_publish+=("$study")
done
"$python" -m benchmarks.published --results "$notes/published" ${to_publish[@]+"${to_publish[@]}"} || true
tar -czf "$packs/published.tar.gz" -C "$notes" published
du -b "$packs"/*.tar.gz
[[ ! -s $notes/failed ]]
