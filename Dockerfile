# Serves a trained network on CPUs: no training, no X libraries, no compiler, not as root.
#
#   docker build -t vid3d-serve .
#   docker run --read-only --tmpfs /tmp --tmpfs /home/vid3d:uid=1000 -p 8000:8000 \
#     -e VID3D_TOKEN -v "$PWD/runs/mine:/workdir:ro" vid3d-serve
#
# experiments/container.sh runs these steps without Docker.
FROM python:3.13-slim

ARG EXTRAS=serve
COPY . /source
RUN python3 -m venv /venv \
 && /venv/bin/pip install --no-cache-dir --constraint /source/constraints.txt "/source[$EXTRAS]" \
 && /venv/bin/pip uninstall --yes opencv-python \
 && /venv/bin/pip install --no-cache-dir --no-deps --constraint /source/constraints.txt opencv-python-headless \
 && rm -rf /source \
 && useradd --create-home --uid 1000 vid3d

USER vid3d
ENV PATH=/venv/bin:$PATH
EXPOSE 8000
HEALTHCHECK --start-period=120s CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=3)"]
ENTRYPOINT ["vid3d", "serve", "--workdir=/workdir", "--host=0.0.0.0", "--port=8000"]
