#!/usr/bin/env bash
# OpenVINO 2026.4.1: `import openvino` forks the process and sends an event to Google Analytics, without asking.
# Its dependency openvino-telemetry does so unless a file in the home folder says no. With JAX in the same process the fork
# warns of a deadlock. Here a proxy on this machine notes where the connection would go, and lets nothing through.
# What helps: sys.modules["openvino_telemetry"] = None before the import, or the command `opt_in_out --opt_out`.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cat > watch.py <<"END"
import os
import socket
import subprocess
import sys

def connections(code):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        proxy = f"http://127.0.0.1:{server.getsockname()[1]}"
        settings = {"HTTPS_PROXY": proxy, "https_proxy": proxy, "HOME": os.getcwd()}
        environment = {k: v for k, v in os.environ.items() if k != "CI" and k.lower() != "no_proxy"}
        program = subprocess.Popen([sys.executable, "-c", code], env=environment | settings)
        try:
            return server.accept()[0].recv(100).split()[:2]
        except TimeoutError:
            return []
        finally:
            program.wait()

plain = connections("import openvino")
print("import openvino:", b" ".join(plain).decode() or "no connection")
quiet = connections("import sys; sys.modules['openvino_telemetry'] = None; import openvino")
print("without openvino_telemetry:", b" ".join(quiet).decode() or "no connection")
raise SystemExit(not plain or bool(quiet))
END
python3 -m venv venv
venv/bin/pip install -q openvino==2026.4.1 openvino-telemetry==2025.2.0 numpy==2.3.4
venv/bin/python watch.py
