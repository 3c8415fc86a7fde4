# syntax=docker/dockerfile:1
# Targets: gateway (what is built without --target), exporter, loadtest.
#   docker build --tag image-model-server .
#   docker build --tag image-model-server-exporter --target exporter .

FROM python:3.11-slim-bookworm AS base
# Nothing is written beside the code, everything is logged at once, and the folder a program starts in holds no modules.
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONSAFEPATH=1 \
    PIP_NO_CACHE_DIR=1
# The base comes without compiled modules, and nobody may write them later: each start would take half a second longer.
RUN python -m compileall -q -j 0 --invalidation-mode unchecked-hash -x '/(site-packages|test|lib2to3|idlelib)/' \
    "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
LABEL org.opencontainers.image.title="image-model-server" \
      org.opencontainers.image.licenses="Apache-2.0"


# One stage and one script make the trees; `make image-tree` runs the same script where there is no container engine.
FROM base AS trees
# For `strip`; nothing of this stage but its trees is in an image, so whatever version Debian has will do.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends binutils \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
# --build-arg GATEWAY_EXTRAS=openvino adds the second engine.
ARG GATEWAY_EXTRAS=""
RUN python containers/tree.py gateway /trees/gateway --extras "${GATEWAY_EXTRAS}" \
    && python containers/tree.py loadtest /trees/loadtest


# Trains and exports: TensorFlow and Keras are its purpose, so it is large.
FROM base AS exporter
LABEL org.opencontainers.image.description="Exports image classifiers, and moves them to where they are served."
COPY pyproject.toml constraints.txt README.md LICENSE /source/
COPY drawing /source/drawing
COPY export /source/export
COPY ims /source/ims
COPY service /source/service
# --build-arg EXPORTER_EXTRAS=export,remote,openvino,openvino-int8,clip also writes OpenVINO's forms of quantized versions, and exports CLIP.
ARG EXPORTER_EXTRAS="export,remote"
RUN pip install --constraint /source/constraints.txt "/source[${EXPORTER_EXTRAS}]" && rm -r /source
# Keras keeps downloads and its settings in the home.
ENV HOME=/tmp TF_CPP_MIN_LOG_LEVEL=2
WORKDIR /work
USER 10001:10001
ENTRYPOINT ["python", "-m", "export"]


FROM base AS loadtest
LABEL org.opencontainers.image.description="Measures what image classifiers can do where they are served."
COPY --from=trees /trees/loadtest/ /
ENV PYTHONPATH=/app HOME=/tmp
WORKDIR /work
USER 10001:10001
ENTRYPOINT ["python", "-m", "loadtest"]


FROM base AS gateway
LABEL org.opencontainers.image.description="Serves image classifiers over HTTP and gRPC, by itself or in front of TensorFlow Serving."
COPY --from=trees /trees/gateway/ /
# Models are mounted, and what is measured of them is kept in /tmp: with a read-only root that has to be a tmpfs.
ENV PYTHONPATH=/app \
    SERVICE_REPOSITORY=/models \
    SERVICE_CACHE_DIR=/tmp/image-model-server
USER 10001:10001
EXPOSE 8000 8500
# The service drains by itself: allow it `--drain-seconds` and 35 s more before SIGKILL.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["python", "-m", "service", "healthcheck"]
ENTRYPOINT ["python", "-m", "service"]
