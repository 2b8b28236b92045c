package falco

// FieldClaimed says that the other fields' package is what code in the process
// says itself. See Place.Claimed.
const FieldClaimed = "falconer.claimed"
