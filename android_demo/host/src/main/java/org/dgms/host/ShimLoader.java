package org.dgms.host;

import java.io.File;

/**
 * Makes Android's TFLite loadable on a desktop JVM: loads the shims of {@code bionic_shim/}, which stand for
 * Android's C library. To be called before any class of TFLite is used.
 */
public final class ShimLoader {
  /** System property: the folder that bionic_shim/build.sh has filled. */
  public static final String DIRECTORY_PROPERTY = "dgms.shim.dir";

  // TFLite asks for these libraries by name; libc's names must be there before the others are linked.
  private static final String[] LIBRARIES = {"c", "m", "dl", "log"};

  private static boolean loaded;

  private ShimLoader() {}

  /**
   * Loads the shims; a second time does nothing.
   *
   * @throws IllegalStateException if the system property does not name a folder with the shims.
   */
  public static synchronized void load() {
    if (loaded) {
      return;
    }
    String directory = System.getProperty(DIRECTORY_PROPERTY);
    for (String name : LIBRARIES) {
      File library = new File(String.valueOf(directory), "lib" + name + "_shim.so");
      if (!library.isFile()) {
        throw new IllegalStateException("-D" + DIRECTORY_PROPERTY + " must name the folder of the shims, made"
            + " by android_demo/host/native.sh. Received: " + directory + ", without " + library.getName());
      }
      System.load(library.getAbsolutePath());
    }
    loaded = true;
  }
}
