package org.dgms.demo.bench;

import java.io.File;
import java.io.IOException;
import java.util.List;
import org.dgms.host.ShimLoader;

/** The app's bundled models ({@code make android-models}), to be run on Android's own TFLite. */
final class TestModels {
  private TestModels() {}

  /** Makes TFLite loadable. */
  static void prepare() {
    ShimLoader.load();
  }

  static List<ModelSpec> all() throws IOException {
    String folder = System.getProperty("dgms.models.dir");
    List<ModelSpec> models = ModelCatalog.list(new File(String.valueOf(folder)));
    if (models.isEmpty()) {
      throw new IllegalStateException(
          "-Ddgms.models.dir must name the folder that `make android-models` has made. Received: " + folder);
    }
    return models;
  }

  /** The first model that computes in "float32" or "int8". */
  static ModelSpec first(String activations) throws IOException {
    for (ModelSpec model : all()) {
      if (activations.equals(model.activations())) {
        return model;
      }
    }
    throw new IllegalStateException("the bundled models must have one of " + activations);
  }
}
