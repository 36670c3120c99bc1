package org.dgms.demo.bench;

/** How the DGMS delegate computes a float32 model; int8 models are always computed in int8. */
public enum Activations {
  /** Activations stay float32: outputs equal the reference up to the order of additions. */
  FLOAT32("float32"),
  /** Each row of activations is rounded to int8 at run time: faster, with a small output difference. */
  DYNAMIC_INT8("dynamic_int8");

  private final String id;

  Activations(String id) {
    this.id = id;
  }

  /** The name in JSON, on command lines and in intents. */
  public String id() {
    return id;
  }

  /**
   * The choice of that id.
   *
   * @throws IllegalArgumentException for any other text
   */
  public static Activations of(String id) {
    for (Activations choice : values()) {
      if (choice.id.equals(id)) {
        return choice;
      }
    }
    throw new IllegalArgumentException(
        "activations must be float32 or dynamic_int8. Received: \"" + id + "\"");
  }
}
