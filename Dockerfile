# The image of fps-bundle. With a network: docker build -t fps-bundle:0.2.0 .
# Without one: make image, then docker load -i dist/fps-bundle-image.tar
FROM python:3.11-slim AS build
COPY . /src
RUN python -m venv /opt/fps-bundle \
 && grep -o '^[a-z0-9.-]*==[^ ]*' /src/requirements.lock > /tmp/constraints.txt \
 && /opt/fps-bundle/bin/pip install --no-cache-dir --constraint /tmp/constraints.txt /src

FROM python:3.11-slim
RUN apt-get update \
 && apt-get install --yes --no-install-recommends openssh-client \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 65532 --create-home --home-dir /home/fps-bundle fps-bundle \
 && install --directory --owner=65532 --group=65532 /home/fps-bundle/.docker /home/fps-bundle/.local \
    /home/fps-bundle/.local/share /home/fps-bundle/.local/state
COPY --from=build /opt/fps-bundle /opt/fps-bundle
USER 65532
WORKDIR /home/fps-bundle
ENTRYPOINT ["/opt/fps-bundle/bin/fps-bundle"]
