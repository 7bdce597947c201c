#!/usr/bin/env bash
# vid3d under Slurm: a training run on several hosts, or a sweep as an array of jobs. Both resume
# after a preemption.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: submit.sh train --nodes=N --gpus=N [options] [--dry-run] -- --config=... --workdir=...
       submit.sh sweep --shards=N --gpus=N [options] [--dry-run] -- --config=... --workdir=...

  --gpus=N           per host; a sweep trains that many runs at a time in each job
  --time=HH:MM:SS    per job; default: 12:00:00
  --partition=NAME  --account=NAME   as the cluster wants them
  --python=PATH      in the environment of vid3d; default: python3
  --dry-run          print the sbatch command and the job, submit nothing

Arguments after -- go to `vid3d train` or `vid3d sweep`. The workdir has to be on a disk that all
hosts see.
TEXT
}

die() {
  echo "submit.sh: error: $*" >&2
  exit 1
}

[ $# -gt 0 ] || { usage >&2; exit 2; }
command=$1
shift
nodes="" shards="" gpus="" time=12:00:00 partition="" account="" python=python3 dry=0
arguments=()
while [ $# -gt 0 ]; do
  case $1 in
    --nodes=*) nodes=${1#*=} ;;
    --shards=*) shards=${1#*=} ;;
    --gpus=*) gpus=${1#*=} ;;
    --time=*) time=${1#*=} ;;
    --partition=*) partition=${1#*=} ;;
    --account=*) account=${1#*=} ;;
    --python=*) python=${1#*=} ;;
    --dry-run) dry=1 ;;
    --) shift; arguments=("$@"); break ;;
    --help | -h) usage; exit 0 ;;
    --nodes | --shards | --gpus | --time | --partition | --account | --python)
      die "write $1=${2:-...}" ;;
    *) die "unknown option $1: see submit.sh help" ;;
  esac
  shift
done

number() {
  [[ ${!1} =~ ^[1-9][0-9]*$ ]] || die "$command needs --$1=N with N from 1"
}

case $command in
  train) number nodes ;;
  sweep) number shards ;;
  help | --help | -h) usage; exit 0 ;;
  *) die "unknown command $command: see submit.sh help" ;;
esac
number gpus
[ ${#arguments[@]} -gt 0 ] || die "$command needs the arguments of vid3d after --"

# Two minutes before the time is up, and at a preemption, the processes get SIGTERM: they save and
# exit with 75.
options=(--job-name="vid3d-$command" --time="$time" --requeue --signal=TERM@120 --open-mode=append)
options+=(--gpus-per-node="$gpus" --ntasks-per-node=1)
[ -z "$partition" ] || options+=(--partition="$partition")
[ -z "$account" ] || options+=(--account="$account")
vid3d=$(printf '%q ' "$python" -m vid3d.cli "$command" "${arguments[@]}")
if [ "$command" = train ]; then
  options+=(--nodes="$nodes")
  work="srun $vid3d"  # vid3d finds the other hosts itself
else
  options+=(--nodes=1 --array="0-$((shards - 1))")
  # shellcheck disable=SC2016  # the job expands it, not this script
  work="srun $vid3d"'--shard="$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" '"--parallel=$gpus"
fi

job=$(
  cat <<TEXT
#!/usr/bin/env bash
code=0
$work || code=\$?
# 75: stopped and saved. The same job resumes it.
if [ "\$code" = 75 ]; then scontrol requeue "\$SLURM_JOB_ID"; fi
exit "\$code"
TEXT
)

if [ "$dry" = 1 ]; then
  printf '+ sbatch'
  printf ' %q' "${options[@]}"
  printf ' <<JOB\n%s\nJOB\n' "$job"
else
  sbatch "${options[@]}" <<<"$job"
fi
