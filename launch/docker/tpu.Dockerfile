# synthdiv for Cloud TPUs.
#
#   docker build -f launch/docker/tpu.Dockerfile -t synthdiv:tpu .

FROM python:3.12.12-slim-bookworm

# The user that launch/gke.py mounts buckets for.
RUN useradd --uid 1000 --create-home synthdiv
WORKDIR /synthdiv
COPY setup.py pyproject.toml README.md LICENSE ./
COPY synthdiv synthdiv
COPY configs configs
COPY third_party/locks third_party/locks
RUN pip install --no-cache-dir -c third_party/locks/py312.txt '.[tpu,eval]'

# Outside the sources, so that the installed package is what runs; configs/ is as in a checkout.
WORKDIR /home/synthdiv
ENV PYTHONUNBUFFERED=1
RUN ln -s /synthdiv/configs configs
USER 1000:1000
