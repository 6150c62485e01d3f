# The service with the core dependencies, PyAV (for WebM and M4A) and the shipped models. No torch, no compiler, no shell needed.
# The digest is of the multi-architecture index; docs/deployment.md says how to check and renew it.
ARG PYTHON_IMAGE=docker.io/library/python:3.11.15-slim-bookworm@sha256:d29f48a31a8b408ed19272ca1e7b10ebae13b240a27e862d3d4217c528e2e0c3

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
COPY locks/media.txt ./
RUN python -m venv --without-pip /opt/venv \
    && pip --python /opt/venv/bin/python install --only-binary=:all: --no-deps \
        --require-hashes -r media.txt
# After the dependencies, so that a change of the code leaves their layer alone.
COPY LICENSE README.md pyproject.toml ./
COPY grove grove
COPY exports exports
COPY codec codec
COPY server server
COPY training training
COPY tools tools
COPY clients/js/local clients/js/local
RUN pip wheel --no-deps --wheel-dir /dist . \
    && pip install --no-deps --target /app /dist/*.whl
COPY deploy/docker/healthcheck.py /app/
RUN /opt/venv/bin/python -m compileall -q /app

# ONNX Runtime Web, with which the demo page's own codec runs; two files of it, one packed as well.
FROM ${PYTHON_IMAGE} AS web
RUN apt-get update && apt-get install -y --no-install-recommends npm
WORKDIR /web
COPY clients/js/package.json clients/js/package-lock.json clients/js/.npmrc ./
RUN npm ci
WORKDIR /dist
RUN cp /web/node_modules/onnxruntime-web/dist/ort.wasm.bundle.min.mjs \
        /web/node_modules/onnxruntime-web/dist/ort-wasm-simd-threaded.wasm . \
    && gzip -9 -k -n ort.wasm.bundle.min.mjs ort-wasm-simd-threaded.wasm

FROM ${PYTHON_IMAGE} AS run
LABEL org.opencontainers.image.title="grove" \
      org.opencontainers.image.description="A neural audio codec as a service" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 grove \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent \
        --shell /usr/sbin/nologin grove \
    && install -d -o grove -g grove -m 0700 /var/lib/grove
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
COPY --from=web /dist /app/grove/web/node_modules/onnxruntime-web/dist
WORKDIR /app
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    ORT_DISABLE_TELEMETRY=1 \
    GROVE_HOST=0.0.0.0 \
    GROVE_PORT=8000 \
    GROVE_STATE_DIR=/var/lib/grove
USER 10001:10001
# Jobs; the only place besides /tmp that is written to.
VOLUME ["/var/lib/grove"]
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "/app/healthcheck.py"]
CMD ["python", "-m", "grove.server"]
