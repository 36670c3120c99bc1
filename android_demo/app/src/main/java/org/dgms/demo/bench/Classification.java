package org.dgms.demo.bench;

import java.util.LinkedHashMap;
import java.util.Map;

/** What a path made of one sample image. Immutable. */
public final class Classification {
  private final String file;
  private final Integer label;
  private final int predicted;
  private final double probability;

  Classification(String file, Integer label, int predicted, double probability) {
    this.file = file;
    this.label = label;
    this.predicted = predicted;
    this.probability = probability;
  }

  /** The image's file name, without folder. */
  public String file() {
    return file;
  }

  /** Index of the right class, or null if unknown. */
  public Integer label() {
    return label;
  }

  /** Index of the class with the largest output. */
  public int predicted() {
    return predicted;
  }

  /**
   * The predicted class's probability, 0 to 1: the output itself if the model ends in a softmax, else its
   * softmax.
   */
  public double probability() {
    return probability;
  }

  /** Whether the prediction is right; false if the right class is unknown. */
  public boolean isRight() {
    return label != null && label == predicted;
  }

  Map<String, Object> toMap() {
    Map<String, Object> map = new LinkedHashMap<String, Object>();
    map.put("file", file);
    map.put("label", label);
    map.put("predicted", predicted);
    map.put("probability", probability);
    return map;
  }

  static Classification fromJson(JsonFields json) throws FormatException {
    Long label = json.integerOrNull("label");
    return new Classification(
        json.text("file"),
        label == null ? null : Integer.valueOf((int) (long) label),
        (int) json.integer("predicted"),
        json.number("probability"));
  }
}
