package org.dgms.demo.bench;

/** The cores that a benchmark may use; {@link CpuTopology} says which they are. */
public enum Affinity {
  /** Every core that the process may use: the scheduler decides. */
  ALL("all"),
  /** Every core except those of the slowest kind. */
  BIG("big"),
  /** The cores of the slowest kind. */
  LITTLE("little");

  private final String id;

  Affinity(String id) {
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
  public static Affinity of(String id) {
    for (Affinity choice : values()) {
      if (choice.id.equals(id)) {
        return choice;
      }
    }
    throw new IllegalArgumentException("the affinity must be all, big or little. Received: \"" + id + "\"");
  }
}
