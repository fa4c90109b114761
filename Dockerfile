# Two images: `train` runs any stage of the pipeline, `serve` segments pictures over HTTP without torch.
#   make images    builds ucc:train and ucc:serve
# What changes seldom comes first: a change of code rebuilds only the last layers, in seconds. CUDA comes with the
# wheels of torch; the driver comes from the host, through the NVIDIA container toolkit.
ARG BASE=python:3.11-slim-bookworm

# uv, from the lock. Mounted where packages are installed, it is in no result.
FROM ${BASE} AS installer
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
COPY requirements/dev.txt /tmp/
RUN sed -n '/^uv==/,/[^\\]$/p' /tmp/dev.txt > /tmp/uv.txt \
    && python3 -m venv /uv \
    && /uv/bin/python -m pip install --no-cache-dir --disable-pip-version-check --require-hashes --no-deps -r /tmp/uv.txt

FROM ${BASE} AS base
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONPATH=/opt/ucc/src \
    HOME=/tmp \
    USER=ucc
RUN python3 -m venv --without-pip /opt/venv && useradd --uid 1000 --no-create-home --home-dir /tmp ucc


FROM base AS train
# git: the exported file names the commit it comes from, and DVC keeps experiments in it.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git \
    && rm -rf /var/lib/apt/lists/* /var/log/apt /var/log/dpkg.log
ARG UV_DEFAULT_INDEX
ARG UV_INDEX
RUN --mount=from=installer,source=/uv,target=/uv \
    --mount=type=cache,target=/uv-cache \
    --mount=source=requirements/train.txt,target=/tmp/requirements.txt \
    VIRTUAL_ENV=/opt/venv UV_CACHE_DIR=/uv-cache UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 \
    /uv/bin/uv pip sync --require-hashes /tmp/requirements.txt
# Settings of the libraries: no network but what a user asked for, caches where anybody may write, a mounted repository
# of whatever owner, every GPU visible.
ENV NO_ALBUMENTATIONS_UPDATE=1 \
    GX_ANALYTICS_ENABLED=false \
    DVC_NO_ANALYTICS=1 \
    MPLCONFIGDIR=/tmp/matplotlib \
    TORCH_HOME=/weights \
    DVC_SITE_CACHE_DIR=/tmp/dvc \
    GIT_OPTIONAL_LOCKS=0 \
    GIT_CONFIG_COUNT=1 \
    GIT_CONFIG_KEY_0=safe.directory \
    GIT_CONFIG_VALUE_0=* \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
RUN mkdir --mode=1777 /weights
WORKDIR /project
USER ucc
COPY src /opt/ucc/src
CMD ["python"]
ARG LOCK
ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.title="ucc train" \
      org.opencontainers.image.description="Semi-supervised semantic segmentation: every stage of the pipeline" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      ucc.lock="${LOCK}"


FROM base AS serve
ARG UV_DEFAULT_INDEX
ARG UV_INDEX
RUN --mount=from=installer,source=/uv,target=/uv \
    --mount=type=cache,target=/uv-cache \
    --mount=source=requirements/serve.txt,target=/tmp/requirements.txt \
    VIRTUAL_ENV=/opt/venv UV_CACHE_DIR=/uv-cache UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 \
    /uv/bin/uv pip sync --require-hashes /tmp/requirements.txt \
    && find /opt/venv -type d -name tests -prune -exec rm -r {} +
WORKDIR /models
USER ucc
EXPOSE 8000
# Only what serving imports: the rest of the package would not run here.
COPY src/ucc/__init__.py src/ucc/__main__.py src/ucc/cli.py src/ucc/errors.py src/ucc/images.py src/ucc/pictures.py \
    src/ucc/pixel_limit.py src/ucc/providers.py src/ucc/segmenter.py src/ucc/tiff.py src/ucc/tiling.py /opt/ucc/src/ucc/
COPY src/ucc/commands/__init__.py src/ucc/commands/arguments.py src/ucc/commands/serve.py /opt/ucc/src/ucc/commands/
COPY src/ucc/serve /opt/ucc/src/ucc/serve
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "from urllib.request import ProxyHandler, build_opener as o; o(ProxyHandler({})).open('http://127.0.0.1:8000/v2/health/ready', timeout=4)"]
ENTRYPOINT ["python", "-m", "ucc", "serve", "--host", "0.0.0.0", "--port", "8000"]
CMD ["/models/segmenter.onnx"]
ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.title="ucc serve" \
      org.opencontainers.image.description="Segments pictures over HTTP with a file that the pipeline exported" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
