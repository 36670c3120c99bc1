package org.dgms.demo.bench;

/** One way to run a model. The ids are the names of the JSON schema and of the intent extra {@code paths}. */
public enum PathKind {
  /** The DGMS delegate, then XNNPACK for the nodes that it leaves. */
  DELEGATE("delegate", true, false),
  /** XNNPACK on the same file. */
  XNNPACK("xnnpack", true, false),
  /** TFLite's own kernels, no delegate at all: the reference that outputs are compared with. */
  BUILTIN("builtin", false, false),
  /**
   * XNNPACK on the model's dense twin, a plain float or int8 file of the same network: the peer that the
   * delegate has to beat. Only for models that have such a file.
   */
  DENSE_XNNPACK("dense:xnnpack", true, true);

  private final String id;
  private final boolean usesXnnpack;
  private final boolean runsDenseTwin;

  PathKind(String id, boolean usesXnnpack, boolean runsDenseTwin) {
    this.id = id;
    this.usesXnnpack = usesXnnpack;
    this.runsDenseTwin = runsDenseTwin;
  }

  /** The name in JSON, on command lines and in intents. */
  public String id() {
    return id;
  }

  /** Whether an XNNPACK delegate is applied in this path. */
  public boolean usesXnnpack() {
    return usesXnnpack;
  }

  /** Whether this path runs the model's dense twin and not the model itself. */
  public boolean runsDenseTwin() {
    return runsDenseTwin;
  }

  /**
   * The path of that id.
   *
   * @throws IllegalArgumentException for any other text
   */
  public static PathKind of(String id) {
    for (PathKind kind : values()) {
      if (kind.id.equals(id)) {
        return kind;
      }
    }
    throw new IllegalArgumentException(
        "a path must be delegate, xnnpack, builtin or dense:xnnpack. Received: \"" + id + "\"");
  }
}
