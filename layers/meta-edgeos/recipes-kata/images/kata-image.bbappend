IMAGE_INSTALL:append = " edgeos-docker-config"
