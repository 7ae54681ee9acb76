# The image that schedulers run: `docker run -v DIR:/data IMAGE run digits`. Every task of a schedule needs the same /data.
#
#   docker build -t gan-pipelines .
#   docker build -t gan-pipelines:gpu --build-arg EXTRAS="[gpu]" .

# TensorFlow publishes no wheels for musl, so not Alpine. Debian 12 is what the tested versions were tested on.
FROM python:3.11-slim-bookworm AS build

# "[gpu]" adds NVIDIA's CUDA libraries; the host needs only the driver and its container toolkit.
ARG EXTRAS=""

RUN python -m venv /venv
ENV PATH="/venv/bin:$PATH" PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

WORKDIR /build
# The libraries first, in a layer of their own: a change of our code or README does not fetch gigabytes again. Only
# what says which libraries are wanted is copied; empty files stand for the rest that the installer reads.
COPY setup.cfg pyproject.toml constraints.txt ./
RUN mkdir gan_components pipelines \
    && touch README.md LICENSE gan_components/__init__.py pipelines/__init__.py \
    && pip install -c constraints.txt ".${EXTRAS}" \
    && pip uninstall --yes gan-pipelines

COPY README.md LICENSE ./
COPY gan_components gan_components
COPY pipelines pipelines
# --no-deps: exactly the libraries of the layer above. The build directory of the first install must not leak in.
RUN rm -rf build ./*.egg-info && pip install --no-deps .


FROM python:3.11-slim-bookworm

# A fixed user id, so that a volume's owner can be set before the first run (Kubernetes: fsGroup: 10001). The user
# has a name because the promotion log writes down who promoted.
RUN useradd --uid 10001 --no-create-home --home-dir /data pipelines \
    && install --directory --owner=pipelines --group=pipelines /data

# Virtual environments name their directory in every script: it must be the same here as where it was built.
COPY --from=build /venv /venv

# Nothing outside /data and /tmp is written, so that the root file system can be read-only
# (docker run --read-only --tmpfs /tmp).
ENV PATH="/venv/bin:$PATH" \
    GAN_PIPELINES_ROOT=/data \
    HOME=/data \
    XDG_CACHE_HOME=/data/cache/xdg \
    KERAS_HOME=/data/cache/keras \
    MPLCONFIGDIR=/tmp/matplotlib \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1

USER 10001
WORKDIR /data
VOLUME /data

ENTRYPOINT ["gan-pipelines"]
CMD ["--help"]
