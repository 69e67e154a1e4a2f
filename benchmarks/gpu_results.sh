#!/usr/bin/env bash
# The published results on one GPU within a given time: studies in lanes, a clean stop, small archives.
#
#   benchmarks/gpu_results.sh --seconds 540 --work DIR --packs DIR [--data DIR] [ARCHIVE ...]
#
# Runs the tasks below, the most valuable first, --lanes of them at once. --reserve seconds (90) before the end, runs
# stop as by Ctrl-C. Then reports are written, finished studies are published into a copy of docs/results, and all
# but the weights is packed: runs-N.tar.gz of at most 16 MB each, and published.tar.gz. Give the runs' archives of
# an earlier call to go on from them: finished runs are not repeated.
set -euo pipefail

tasks_text="
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
ablations --seeds 0-2
lr_grid --seeds 0-2
search
"
lanes=4 reserve=90 pack_bytes=16000000 device=auto python=python
seconds="" work="" packs="" data="" tasks=""
archives=()
usage() { sed -n '2,9s/^# \{0,1\}//p' "$0"; }
fail() { echo "error: $1" >&2; exit 2; }

while (($#)); do
  case $1 in
    --help) usage; exit 0 ;;
    --seconds | --work | --packs | --data | --lanes | --reserve | --device | --python | --tasks | --pack-bytes)
      (($# > 1)) || fail "$1: expected a value"
      name=${1#--}
      printf -v "${name//-/_}" '%s' "$2"
      shift 2 ;;
    -*) fail "$1: no such option; --help shows them" ;;
    *) [[ -f $1 ]] || fail "$1: no such archive"; archives+=("$(realpath "$1")"); shift ;;
  esac
done
for name in seconds lanes reserve pack_bytes; do
  [[ ${!name} =~ ^[0-9]+$ ]] || fail "--${name//_/-}: expected a whole number, got '${!name}'"
done
((lanes > 0)) || fail "--lanes: expected at least 1"
((seconds > reserve)) || fail "--seconds $seconds: --reserve $reserve of them are for reports and archives"
[[ -n $work && -n $packs ]] || fail "--work and --packs: name the folders for the runs and for the archives"
[[ -z $tasks || -f $tasks ]] || fail "--tasks $tasks: no such file"
[[ -z $data || -d $data ]] || fail "--data $data: no such folder"

cd "$(dirname "$0")/.."
mkdir -p "$work/lanes" "$packs"
work=$(realpath "$work") packs=$(realpath "$packs")
[[ -z $tasks ]] || tasks_text=$(<"$tasks")
end=$(($(date +%s) + seconds))
options=(--out "$work" --device "$device")
[[ -z $data ]] || options+=(--data "$data")

for archive in ${archives[@]+"${archives[@]}"}; do
  tar -xzf "$archive" -C "$work" --skip-old-files || fail "$archive: cannot be unpacked"
done

# ---- runs ------------------------------------------------------------------------------------------------------

grep -v '^\s*\(#\|$\)' <<<"$tasks_text" >"$work/lanes/tasks"
rm -f "$work/lanes/"*.log

next_task() { # takes the first task off the list
  flock "$work/lanes/tasks" sed -n -i -e '1{w /dev/stdout
d}' -e p "$work/lanes/tasks"
}

lane() {
  local task left status
  while left=$((end - reserve - $(date +%s))) && ((left > 0)) && task=$(next_task) && [[ -n $task ]]; do
    echo "== $task" >>"$work/lanes/$1.log"
    status=0
    # shellcheck disable=SC2086  # a task is several words
    timeout --kill-after=30 "$left" "$python" -m harness.study $task "${options[@]}" --launcher serial \
      >>"$work/lanes/$1.log" 2>&1 || status=$?
    case $status in
      0) echo "done: $task" ;;
      124 | 130) echo "stopped, the time is up: $task" ;;
      *) echo "FAILED with status $status: $task; see $work/lanes/$1.log" ;;
    esac
  done
}

for ((number = 1; number <= lanes; number++)); do lane "$number" & done
wait

# ---- reports ---------------------------------------------------------------------------------------------------

report() {
  local study=$1 left=$((end - $(date +%s)))
  [[ ! -f ${study}report.json || -n $(find "${study}runs" -name run.json -newer "${study}report.json") ]] || return 0
  ((left > 5)) || { echo "no time left for the report of $(basename "$study")"; return 0; }
  timeout "$left" "$python" -m harness.study "${study}study.toml" --variants "$(ls "${study}runs" | paste -sd,)" \
    --report-only "${options[@]}" --quiet || true
}

done_studies=()
for study in "$work"/*/; do
  grep -lqs '"status": "finished"' "$study"runs/*/*/run.json || continue
  while (($(jobs -rp | wc -l) >= lanes)); do wait -n; done
  report "$study" &
  done_studies+=("$study")
done
wait
rm -rf "$work/lanes/published"
cp -r docs/results "$work/lanes/published"
"$python" -m benchmarks.published --results "$work/lanes/published" ${done_studies[@]+"${done_studies[@]}"}
echo "finished runs: $(grep -ls '"status": "finished"' "$work"/*/runs/*/*/run.json | wc -l)"

# ---- archives --------------------------------------------------------------------------------------------------

# Whole run folders together, so that each archive is of use alone; predictions hardly shrink.
pack() {
  local number=0 size=0 folder bytes list="$work/lanes/list"
  : >"$list"
  while read -r bytes folder; do
    if ((size && size + bytes > pack_bytes * 9 / 10)); then
      write_pack $((++number)) && size=0
    fi
    echo "$folder" >>"$list"
    size=$((size + bytes))
  done
  ((size == 0)) || write_pack $((++number))
}
write_pack() {
  tar -czf "$packs/runs-$1.tar.gz" -C "$work" --exclude='*.safetensors' --exclude='checkpoint.pt' \
    --exclude='.locks' --exclude='.*.tmp' --files-from="$list"
  : >"$list"
}
rm -f "$packs"/runs-*.tar.gz
(
  cd "$work"
  for folder in */runs/*/*/ */range_test/ */study.toml; do
    [[ -e $folder ]] || continue
    echo "$(find "$folder" -type f ! -name '*.safetensors' ! -name checkpoint.pt -printf '%s\n' |
      awk '{all += $1} END {print all + 0}') $folder"
  done
) | pack
tar -czf "$packs/published.tar.gz" -C "$work/lanes" published
du -b "$packs"/*.tar.gz
