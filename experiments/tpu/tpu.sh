#!/usr/bin/env bash
# vid3d on a Cloud TPU slice: create it, install, train on all hosts, resume after a preemption, and
# fetch the results.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: tpu.sh COMMAND --name=NAME --zone=ZONE [options] [--dry-run] [-- arguments of vid3d]

  create     request the slice and wait for it
             --type=v5litepod-16 --image=v2-alpha-tpuv5-lite [--spot]
  install    copy this checkout to every host, with its own Python
             [--bucket=BUCKET: mount it at ~/bucket]
  copy-data  copy prepared data to the local disk of every host           --from=gs://BUCKET/FOLDER
  run        one vid3d command on all hosts together, such as
             -- train --config=vid3d/configs/ucf101.py:all --workdir=gs://BUCKET/runs/all
  watch      run it until it is finished, and recreate the slice after a preemption
             (takes the options of create, install, copy-data)
  fetch      copy a workdir to this machine
             --from=gs://BUCKET/runs/all (or a folder of host 0) --to=runs/all
  delete     delete the slice

  --project=PROJECT   default: gcloud's own
  --dry-run           print the commands, run none
TEXT
}

die() {
  echo "tpu.sh: error: $*" >&2
  exit 1
}

[ $# -gt 0 ] || { usage >&2; exit 2; }
command=$1
shift
name="" zone="" project="" type="" image="" bucket="" from="" to="" spot=0 dry=0
arguments=()
while [ $# -gt 0 ]; do
  case $1 in
    --name=*) name=${1#*=} ;;
    --zone=*) zone=${1#*=} ;;
    --project=*) project=${1#*=} ;;
    --type=*) type=${1#*=} ;;
    --image=*) image=${1#*=} ;;
    --bucket=*) bucket=${1#*=} ;;
    --from=*) from=${1#*=} ;;
    --to=*) to=${1#*=} ;;
    --spot) spot=1 ;;
    --dry-run) dry=1 ;;
    --) shift; arguments=("$@"); break ;;
    --help | -h) usage; exit 0 ;;
    --name | --zone | --project | --type | --image | --bucket | --from | --to)
      die "write $1=${2:-...}" ;;
    *) die "unknown option $1: see tpu.sh help" ;;
  esac
  shift
done

need() {
  local option
  for option in "$@"; do
    [ -n "${!option}" ] || die "$command needs --$option=..."
  done
}

# Prints a command that can be pasted into a shell, and runs it unless --dry-run is given.
step() {
  printf '+'
  printf ' %q' "$@"
  printf '\n'
  [ "$dry" = 1 ] || "$@"
}

place() { # the options that every gcloud command takes
  printf '%s\n' "--zone=$zone"
  [ -z "$project" ] || printf '%s\n' "--project=$project"
}

on_all() { # a shell command on every host at once
  local where
  mapfile -t where < <(place)
  step gcloud compute tpus tpu-vm ssh "$name" "${where[@]}" --worker=all --command="$1"
}

create() {
  need type image
  local where extra=()
  mapfile -t where < <(place)
  [ "$spot" = 0 ] || extra+=(--spot)
  step gcloud compute tpus queued-resources create "$name" --node-id="$name" "${where[@]}" \
    --accelerator-type="$type" --runtime-version="$image" "${extra[@]}"
  while [ "$dry" = 0 ] && [ "$(state)" != READY ]; do sleep 30; done
}

state() {
  local where
  mapfile -t where < <(place)
  gcloud compute tpus tpu-vm describe "$name" "${where[@]}" --format='value(state)' 2>/dev/null ||
    echo ABSENT
}

install() {
  local where root archive
  mapfile -t where < <(place)
  root=$(git -C "$(dirname "${BASH_SOURCE[0]}")" rev-parse --show-toplevel)
  archive=${TMPDIR:-/tmp}/vid3d-$name.tar.gz
  step git -C "$root" archive --format=tar.gz --prefix=vid3d/ --output="$archive" HEAD
  step gcloud compute tpus tpu-vm scp "$archive" "$name:vid3d.tar.gz" "${where[@]}" --worker=all
  # The images ship an older Python than JAX needs: uv brings its own and leaves the system's alone.
  on_all 'set -e; tar -xzf vid3d.tar.gz; curl -LsSf https://astral.sh/uv/install.sh | sh; cd vid3d
~/.local/bin/uv venv --quiet --python 3.12 --allow-existing .venv
~/.local/bin/uv pip install --quiet --python .venv/bin/python --constraint constraints.txt \
  --editable ".[train,tpu,gcs]"'
  # A workdir in a bucket needs no mount; videos do.
  [ -z "$bucket" ] || on_all "set -e
command -v gcsfuse >/dev/null || { echo 'gcsfuse is not installed' >&2; exit 1; }
mkdir -p ~/bucket; mountpoint -q ~/bucket || gcsfuse --implicit-dirs --rename-dir-limit=100000 \
$(printf %q "$bucket") ~/bucket"
}

copy_data() {
  need from
  on_all "mkdir -p ~/.cache/vid3d && \
gcloud storage rsync --recursive $(printf %q "$from") ~/.cache/vid3d"
}

run() {
  [ ${#arguments[@]} -gt 0 ] || die "$command needs the arguments of vid3d after --"
  on_all "cd ~; code=0; vid3d/.venv/bin/vid3d $(printf '%q ' "${arguments[@]}")|| code=\$?; \
echo \$code >vid3d.code; exit \$code"
}

delete() {
  local where
  mapfile -t where < <(place)
  step gcloud compute tpus queued-resources delete "$name" "${where[@]}" --force --quiet
}

watch() {
  local where
  mapfile -t where < <(place)
  while true; do
    if [ "$dry" = 1 ] || [ "$(state)" != READY ]; then
      delete || true
      create
      install
      [ -z "$from" ] || copy_data
    fi
    # vid3d exits with 0 when it is finished and with 75 when it was stopped and has saved.
    run || true
    [ "$dry" = 0 ] || return 0
    if [ "$(state)" = READY ]; then
      case $(gcloud compute tpus tpu-vm ssh "$name" "${where[@]}" --worker=0 \
        --command='cat vid3d.code') in
        0) return 0 ;;
        75) ;;
        *) die "vid3d failed on a slice that is up: see above" ;;
      esac
    fi
  done
}

fetch() {
  need from to
  local where
  mapfile -t where < <(place)
  case $from in
    gs://*)
      step mkdir -p "$to"
      step gcloud storage rsync --recursive "$from" "$to"
      return
      ;;
  esac
  step mkdir -p "$(dirname "$to")"
  step gcloud compute tpus tpu-vm scp --recurse "$name:$from" "$to" "${where[@]}" --worker=0
}

case $command in
  create | install | copy-data | run | watch | fetch | delete) need name zone; "${command//-/_}" ;;
  help | --help | -h) usage ;;
  *) die "unknown command $command: see tpu.sh help" ;;
esac
