#!/usr/bin/env bash
# Runs the steps of the Dockerfile in a new minimal Debian, without Docker: COPY, RUN, and the start as its user.
#
#   experiments/container.sh WORKDIR VIDEO      (as root, with mmdebstrap)
#
# Prints the size of what the steps add, the answer for the video, and what HEALTHCHECK and SIGTERM end with.
set -euo pipefail
workdir=$(realpath "$1") video=$(realpath "$2")
cd "$(dirname "$0")/.."

if [ "${3:-}" = inside ]; then # in a mount namespace of its own, so that no mount outlives it
  root=$4
  mount -t proc proc "$root/proc"
  mount --rbind /dev "$root/dev"
  for folder in ${5:-}; do mkdir -p "$root$folder" && mount --bind -o ro "$folder" "$root$folder"; done
  mkdir "$root/workdir" && mount --bind -o ro "$workdir" "$root/workdir"
  cp "$video" "$root/video"
  # What stands behind RUN, with its continuations.
  step=$(sed -n '/^RUN /,/[^\\]$/p' Dockerfile | sed '1s/^RUN //')
  chroot "$root" env EXTRAS="${EXTRAS:-serve}" sh -ec "$step" >/dev/null
  echo "the steps add $(du -sm --apparent-size "$root/venv" | cut -f 1) MiB"
  health=$(sed -n 's/^HEALTHCHECK.*"-c", "\(.*\)"\]$/\1/p' Dockerfile)
  chroot --userspec=1000:1000 "$root" env HOME=/home/vid3d PATH=/venv/bin:/usr/bin:/bin \
    VID3D_TOKEN=a-token-of-the-experiment vid3d serve --workdir=/workdir --host=0.0.0.0 --port=8765 >"$root/log" &
  server=$!
  until grep -q http "$root/log"; do kill -0 $server && sleep 1; done
  chroot "$root" python3 -c "${health//8000/8765}" && echo "HEALTHCHECK passes"
  chroot "$root" /venv/bin/python -c "
import urllib.request
head = {'Content-Type': 'video/mp4', 'Authorization': 'Bearer a-token-of-the-experiment'}
request = urllib.request.Request('http://127.0.0.1:8765/predict', open('/video', 'rb').read(), head)
print(urllib.request.urlopen(request).read().decode()[:200])"
  kill -TERM $server
  code=0
  wait $server || code=$?
  echo "SIGTERM ends it with $code"
  exit $code
fi

temporary=$(mktemp -d)
trap 'rm -rf --one-file-system "$temporary"' EXIT
root=$temporary/root
apt-config dump | grep -E '^Acquire::(http|https|Check|Retries)' >"$temporary/apt.conf" || true
# shellcheck disable=SC2016 # the variable is apt's
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' 2>/dev/null | head -n 1 || true)
mmdebstrap --quiet --mode=root --variant=minbase --include=python3,python3-venv --aptopt="$temporary/apt.conf" \
  trixie "$root" ${mirror:+"$mirror"}
mkdir "$root/source"
git ls-files -z pyproject.toml constraints.txt README.md LICENSE vid3d configs | tar --null -T - -c | tar -x -C "$root/source"
# pip finds its packages there as it does here: its settings are copied, folders that they name are mounted.
copied=() folders=""
for path in /etc/{hosts,resolv.conf,pip.conf,xdg/pip,ssl/certs}; do
  [ ! -e "$path" ] || copied+=("${path#/}")
done
rm -f "$root"/etc/{hosts,resolv.conf}
tar --dereference --ignore-failed-read -c -C / "${copied[@]}" 2>/dev/null | tar -x -C "$root"
for path in $(python3 -m pip config list | grep -oE "(file://)?/[^' ]+" | sed 's#^file://##' || true); do
  [ ! -d "$path" ] || folders+=" /$(cut -d / -f 2 <<<"$path")"
done
folders=$(tr ' ' '\n' <<<"$folders" | sort -u | xargs)
unshare --mount --pid --fork --kill-child "$0" "$workdir" "$video" inside "$root" "$folders"
