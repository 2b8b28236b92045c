int acting;
