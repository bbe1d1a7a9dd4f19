# One image for the worker and for the API; what runs is the command (see docker-compose.yml).
FROM python:3.12.11-slim-bookworm AS base
ENV OPENBLAS_NUM_THREADS=1 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# chromium renders pages that only a browser shows; libchromaprint makes fingerprints quicker than FFmpeg's muxer.
RUN apt-get update \
    && apt-get install -y --no-install-recommends chromium libchromaprint1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 versions
WORKDIR /app
COPY requirements.lock ./
RUN pip install --no-cache-dir --require-hashes -r requirements.lock
COPY . .
RUN printf '#!/usr/local/bin/python\nfrom runtime.cli import command\ncommand()\n' > /usr/local/bin/versions \
    && chmod +x /usr/local/bin/versions
ENV PYTHONPATH=/app VERSIONS_DATA_DIR=/var/lib/versions
RUN install -d -o versions /var/lib/versions
USER versions
VOLUME /var/lib/versions
CMD ["python", "-m", "runtime.worker"]
